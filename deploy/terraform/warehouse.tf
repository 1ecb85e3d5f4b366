# The warehouse holds tokens. It is closed to everybody whom roles/main.tf does not name.

resource "google_bigquery_dataset" "warehouse" {
  dataset_id                  = "${replace(var.tenant, "-", "_")}_protected"
  friendly_name               = "Protected records of ${var.tenant}"
  location                    = var.region
  default_table_expiration_ms = var.table_expiration_ms
  delete_contents_on_destroy  = false

  labels = {
    tenant = var.tenant
    holds  = "tokens"
  }

  # Without a list of its own a dataset is open to all who may edit or view the project.
  access {
    role          = "OWNER"
    special_group = "projectOwners"
  }

  # Grants below are members of the same list; they are not to be taken away again here.
  lifecycle {
    ignore_changes  = [access]
    prevent_destroy = true
  }
}

resource "google_bigquery_dataset_iam_member" "warehouse" {
  for_each = module.roles.warehouse

  dataset_id = google_bigquery_dataset.warehouse.dataset_id
  role       = each.value
  member     = google_service_account.identity[each.key].member
}
