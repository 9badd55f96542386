"""Mark where the package begins: the import package is netledger/, which links to the folders beside it."""
