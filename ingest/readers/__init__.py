"""The readers, one file a kind: facts for the record, payload for the model.

Each reader module names the suffixes of its files, `SUFFIXES`, and offers the same four functions:

claims(head, suffix)  does a file with these first 4 KiB and this lower-case suffix look like mine?
whole(path)           None when the file has reached its declared end, else what is still missing
read(path, *, sidecar, parts)  the file as Evidence; raises Rejected. sidecar: the JSON beside it, and
                      parts: the folders it lies in, which may say whose it is (ingest/whose.py)
payload(data, kind)   the archived bytes as what a model that reads `kind` is given; raises Rejected
"""
