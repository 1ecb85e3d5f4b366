variable "launcher_is_worker" {
  description = "Whether runs are launched and worked on in one process, as `consentry stream` does on one machine."
  type        = bool
  default     = false
}

variable "desk_signs_checkpoints" {
  description = "Whether the desk signs checkpoints of the access log. The log key lies in the key set `proof`, beside the key of manifests: with it the desk could sign manifests too."
  type        = bool
  default     = false
}
