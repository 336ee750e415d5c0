"""FUSC: raw fetal ultrasound scans to clusters of views with honest purity figures. Importing this imports nothing."""
