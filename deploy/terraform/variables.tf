variable "project" {
  description = "Project of Google Cloud in which everything lies."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "Not the id of a project: 6 to 30 lower-case letters, digits and dashes."
  }
}

variable "region" {
  description = "Region of keys, topics and jobs, as europe-west3."
  type        = string
}

variable "tenant" {
  description = "The `tenant` of consentry.yaml; begins the names of all resources."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,14}$", var.tenant))
    error_message = "Names of service accounts have little room: 2 to 15 lower-case letters, digits and dashes."
  }
}

variable "keys_project" {
  description = "Project of the keys, best one of its own with other administrators. Default: `project`."
  type        = string
  default     = null
}

variable "rotation_period" {
  description = "After how long Cloud KMS makes a new version of each key. It concerns the wrapping of key sets only."
  type        = string
  default     = "7776000s"
}

variable "protection_level" {
  description = "SOFTWARE or HSM."
  type        = string
  default     = "HSM"

  validation {
    condition     = contains(["SOFTWARE", "HSM"], var.protection_level)
    error_message = "SOFTWARE or HSM."
  }
}

variable "launcher_is_worker" {
  description = "See roles/variables.tf."
  type        = bool
  default     = false
}

variable "desk_signs_checkpoints" {
  description = "See roles/variables.tf."
  type        = bool
  default     = false
}

variable "event_retention" {
  description = "How long raw events wait in a subscription: as long as an outage may last, and no longer, since they are raw."
  type        = string
  default     = "86400s"
}

variable "image_repository" {
  description = "Name of the repository of images in Artifact Registry, in `region`; it exists already."
  type        = string
}

variable "output_bucket" {
  description = "Name of the bucket that outputs, staged files and temporary files lie in; it exists already."
  type        = string
}

variable "table_expiration_ms" {
  description = "After how many milliseconds tables of the warehouse expire. Default: never."
  type        = number
  default     = null
}
