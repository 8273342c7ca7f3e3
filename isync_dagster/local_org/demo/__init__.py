"""Two orgs to try everything on: a CRM with believable data, and a target whose schema differs in places."""
