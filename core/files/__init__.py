"""Files on the disk: the layout of the data folder, published folders, shards, manifests, packed texts, a full disk.
A file that a reader may have open is never changed, only replaced by renaming. The database is not used here."""
