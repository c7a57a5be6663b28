"""What wetread costs against its peers and the machine's limits; `make bench` runs it."""
