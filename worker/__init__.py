"""From a queued job to a committed result."""
