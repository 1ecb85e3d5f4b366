# Events and consents come in, protected events go out. What cannot be delivered goes to a topic that somebody reads.

locals {
  incoming = toset(["events", "consents"])
}

data "google_project" "this" {
  project_id = var.project
}

resource "google_pubsub_topic" "incoming" {
  for_each = local.incoming

  name                       = "${var.tenant}-${each.key}"
  message_retention_duration = var.event_retention

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
}

resource "google_pubsub_topic" "undelivered" {
  for_each = local.incoming

  name = "${var.tenant}-${each.key}-undelivered"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
}

resource "google_pubsub_topic" "protected" {
  name = "${var.tenant}-protected"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
}

# Consents of one subject must be read in the order in which they were given; publishers set the subject as ordering key.
resource "google_pubsub_subscription" "incoming" {
  for_each = local.incoming

  name                       = "${var.tenant}-${each.key}"
  topic                      = google_pubsub_topic.incoming[each.key].id
  enable_message_ordering    = true
  ack_deadline_seconds       = 600
  retain_acked_messages      = false
  message_retention_duration = var.event_retention

  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  # An outage is no reason to set messages aside, so as many attempts as there may be. A message that cannot be read as
  # an event is acknowledged and becomes a dead letter of Consentry, sealed; it does not get here.
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.undelivered[each.key].id
    max_delivery_attempts = 100
  }
}

# Undelivered messages are raw: they wait a week and nobody has rights on them by default.
resource "google_pubsub_subscription" "undelivered" {
  for_each = local.incoming

  name                       = "${var.tenant}-${each.key}-undelivered"
  topic                      = google_pubsub_topic.undelivered[each.key].id
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_subscription_iam_member" "incoming" {
  for_each = {
    for pair in setproduct(keys(module.roles.subscriptions), local.incoming) : "${pair[0]}-${pair[1]}" => pair
  }

  subscription = google_pubsub_subscription.incoming[each.value[1]].name
  role         = module.roles.subscriptions[each.value[0]]
  member       = google_service_account.identity[each.value[0]].member
}

# Dataflow's reader asks what a subscription is like.
resource "google_pubsub_subscription_iam_member" "incoming_viewer" {
  for_each = local.incoming

  subscription = google_pubsub_subscription.incoming[each.key].name
  role         = "roles/pubsub.viewer"
  member       = google_service_account.identity["worker"].member
}

resource "google_pubsub_topic_iam_member" "protected" {
  for_each = module.roles.topics

  topic  = google_pubsub_topic.protected.name
  role   = each.value
  member = google_service_account.identity[each.key].member
}

# Pub/Sub itself moves undelivered messages, under its own account.
resource "google_pubsub_topic_iam_member" "undelivered" {
  for_each = local.incoming

  topic  = google_pubsub_topic.undelivered[each.key].name
  role   = "roles/pubsub.publisher"
  member = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_subscription_iam_member" "undelivered" {
  for_each = local.incoming

  subscription = google_pubsub_subscription.incoming[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}
