"""What every part may know: free of torch, Qt and Slicer."""
