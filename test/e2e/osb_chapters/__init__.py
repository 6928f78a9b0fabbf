"""The rows of the Open Service Broker API's checklist, by its chapters; see conformance.py."""
