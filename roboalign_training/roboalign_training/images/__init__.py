"""Pictures of a data set: as files, PNG or video."""
