"""The diagnostic models: payload in, findings out; nothing here knows files, queues, SQL or patients."""
