"""The readers, one file a kind: facts for the record, payload for the model.

Each reader module offers the same four functions:

claims(head, suffix)  does a file with these first 4 KiB and this lower-case suffix look like mine?
whole(path)           None when the file has reached its declared end, else what is still missing
read(path)            the file as Evidence; raises Rejected
payload(data)         the archived bytes as what a model is given; raises Rejected
"""
