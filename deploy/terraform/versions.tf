terraform {
  required_version = ">= 1.6"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.0, < 8.0"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}

module "roles" {
  source                 = "./roles"
  launcher_is_worker     = var.launcher_is_worker
  desk_signs_checkpoints = var.desk_signs_checkpoints
}
