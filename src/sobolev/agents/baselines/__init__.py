"""The methods with which DSDPG is compared: TD3, MAGE, and its ablations MMD and IQN."""
