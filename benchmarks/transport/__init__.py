"""Eight Gaussians carried to two moons, in whole numbers, by CountBridge and by others."""
