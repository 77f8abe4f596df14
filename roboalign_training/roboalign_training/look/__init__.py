"""A look at recordings and data sets: as one HTML page, or in the Rerun viewer."""
