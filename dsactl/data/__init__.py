"""Datasets: the catalogue, image folders, views, and a loaded dataset on the device."""
