# Who may do what, as data: one table of roles for each kind of resource. Everything that grants reads it from here, and
# a test evaluates it. No provider is needed for that.

locals {
  decrypt = "roles/cloudkms.cryptoKeyDecrypter"
  wrap    = "roles/cloudkms.cryptoKeyEncrypterDecrypter"

  # A launcher settles a run and signs its manifest; it makes no token. Where launcher and workers are one process
  # (`consentry stream` and `consentry protect` on one machine), it is a worker as well.
  launcher_key_sets = concat(["proof", "vault"], var.launcher_is_worker ? ["token"] : [])

  # Key sets that each identity may open. Auditors, and those who only read outputs, open none.
  key_sets = {
    keeper   = { token = local.wrap, vault = local.wrap, proof = local.wrap }
    launcher = { for key_set in local.launcher_key_sets : key_set => local.decrypt }
    worker   = { token = local.decrypt, vault = local.decrypt }
    desk     = merge({ vault = local.decrypt }, var.desk_signs_checkpoints ? { proof = local.decrypt } : {})
    auditor  = {}
  }

  # Rights on the whole project. What exists for one resource only is granted there and not here.
  project_roles = {
    keeper   = []
    launcher = ["roles/dataflow.developer"]
    worker   = ["roles/bigquery.jobUser", "roles/dataflow.worker"]
    desk     = []
    auditor  = ["roles/bigquery.jobUser", "roles/dataflow.viewer"]
  }

  subscriptions = { worker = "roles/pubsub.subscriber" }
  topics        = { worker = "roles/pubsub.publisher" }

  warehouse = {
    worker  = "roles/bigquery.dataEditor"
    auditor = "roles/bigquery.dataViewer"
  }

  # The image of the workers, and the folder of the outputs.
  images  = { launcher = "roles/artifactregistry.reader", worker = "roles/artifactregistry.reader" }
  buckets = { launcher = "roles/storage.objectUser", worker = "roles/storage.objectUser", auditor = "roles/storage.objectViewer" }
}
