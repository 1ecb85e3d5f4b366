# Service accounts, without keys: workloads get them by workload identity or from the machine.

resource "google_service_account" "identity" {
  for_each = toset(module.roles.identities)

  account_id   = "${var.tenant}-${each.key}"
  display_name = "Consentry ${each.key} of ${var.tenant}"
}

resource "google_project_iam_member" "identity" {
  for_each = module.roles.project_grants

  project = var.project
  role    = each.value.role
  member  = google_service_account.identity[each.value.identity].member
}

# Who launches a job says under which account its workers run, and may name this one only.
resource "google_service_account_iam_member" "launcher_runs_worker" {
  service_account_id = google_service_account.identity["worker"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.identity["launcher"].member
}

resource "google_artifact_registry_repository_iam_member" "images" {
  for_each = module.roles.images

  location   = var.region
  repository = var.image_repository
  role       = each.value
  member     = google_service_account.identity[each.key].member
}

resource "google_storage_bucket_iam_member" "outputs" {
  for_each = module.roles.buckets

  bucket = var.output_bucket
  role   = each.value
  member = google_service_account.identity[each.key].member
}
