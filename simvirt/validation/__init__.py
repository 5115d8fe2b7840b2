"""Holds simvirt against measurements that are data: cases read, baselines solved, rows predicted and scored."""
