# One key for each key set, so that each role can open what it needs and no more.

locals {
  keys_project = coalesce(var.keys_project, var.project)
}

resource "google_kms_key_ring" "consentry" {
  project  = local.keys_project
  name     = "${var.tenant}-consentry"
  location = var.region

  lifecycle {
    prevent_destroy = true
  }
}

resource "google_kms_crypto_key" "key_set" {
  for_each = toset(["token", "vault", "proof"])

  name                       = each.key
  key_ring                   = google_kms_key_ring.consentry.id
  purpose                    = "ENCRYPT_DECRYPT"
  rotation_period            = var.rotation_period
  destroy_scheduled_duration = "2592000s"

  version_template {
    algorithm        = "GOOGLE_SYMMETRIC_ENCRYPTION"
    protection_level = var.protection_level
  }

  # With the key goes everything that it wraps.
  lifecycle {
    prevent_destroy = true
  }
}

resource "google_kms_crypto_key_iam_member" "key_set" {
  for_each = module.roles.key_grants

  crypto_key_id = google_kms_crypto_key.key_set[each.value.key_set].id
  role          = each.value.role
  member        = google_service_account.identity[each.value.identity].member
}

# Every use of a key is noted, by whom and when.
resource "google_project_iam_audit_config" "keys" {
  project = local.keys_project
  service = "cloudkms.googleapis.com"

  audit_log_config {
    log_type = "ADMIN_READ"
  }

  audit_log_config {
    log_type = "DATA_READ"
  }

  audit_log_config {
    log_type = "DATA_WRITE"
  }
}
