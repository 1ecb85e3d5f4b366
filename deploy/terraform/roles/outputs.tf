output "identities" {
  description = "All identities."
  value       = sort(keys(local.key_sets))
}

output "key_grants" {
  description = "One entry for each role of an identity on a key."
  value = {
    for grant in flatten([
      for identity, sets in local.key_sets : [
        for key_set, role in sets : { identity = identity, key_set = key_set, role = role }
      ]
    ]) : "${grant.identity}-${grant.key_set}" => grant
  }
}

output "project_grants" {
  description = "One entry for each role of an identity on the project."
  value = {
    for grant in flatten([
      for identity, roles in local.project_roles : [for role in roles : { identity = identity, role = role }]
    ]) : "${grant.identity}-${trimprefix(grant.role, "roles/")}" => grant
  }
}

output "subscriptions" {
  description = "Identity to role, on each subscription."
  value       = local.subscriptions
}

output "topics" {
  description = "Identity to role, on the topic of protected events and on the topics of dead letters."
  value       = local.topics
}

output "warehouse" {
  description = "Identity to role, on the dataset of the warehouse."
  value       = local.warehouse
}

output "images" {
  description = "Identity to role, on the repository of images."
  value       = local.images
}

output "buckets" {
  description = "Identity to role, on the bucket of outputs."
  value       = local.buckets
}
