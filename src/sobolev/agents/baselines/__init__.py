"""TD3, MAGE, and DSDPG's ablations MMD and IQN: what DSDPG is compared with."""
