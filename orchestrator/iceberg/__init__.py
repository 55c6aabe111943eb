"""The tables of an Iceberg catalog: schemas, manifests and metadata of the snapshots that the store has."""
