"""An embedded Salesforce org: server, SOQL, storage, strict rules, seeds."""
