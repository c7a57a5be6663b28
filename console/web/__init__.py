"""The web service: health, metrics and a page that shows what is going on."""
