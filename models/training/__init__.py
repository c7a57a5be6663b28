"""The training kit: pieces that several families share."""
