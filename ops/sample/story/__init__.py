"""The sample log: three tenants, one autumn."""
