"""What people see: the command line, the one-machine supervisor and the web page."""
