"""PHQ-9s as others keep them: tables and FHIR."""
