"""What a penalty on the Jacobian of DSDPG's world model does to κ, to the return, and to the model's error."""
