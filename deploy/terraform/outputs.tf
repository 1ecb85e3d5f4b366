output "kek" {
  description = "What to write under `kek` in consentry.yaml."
  value       = { for key_set, key in google_kms_crypto_key.key_set : key_set => "gcp-kms://${key.id}" }
}

output "accounts" {
  description = "Service accounts by role."
  value       = { for role, account in google_service_account.identity : role => account.email }
}

output "from" {
  description = "What to give as --from and --consents."
  value = {
    for name, subscription in google_pubsub_subscription.incoming :
    name => "pubsub://${var.project}/${subscription.name}"
  }
}

output "to" {
  description = "What to give as --to."
  value       = "pubsub://${var.project}/${google_pubsub_topic.protected.name}"
}

output "warehouse" {
  description = "The dataset of protected records."
  value       = google_bigquery_dataset.warehouse.dataset_id
}
