"""What lies on the disk and how it gets there: published folders, shards, manifests, packed texts, a full disk.
Files that readers may have open are never changed, only written anew and renamed; rows are no concern of this folder."""
