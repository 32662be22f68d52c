"""Resources in → what a sidecar is sent. Reads the files of golden/; adding a case needs no code here."""
