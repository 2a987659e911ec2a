package importer

// SetPasswordCost changes the cost of the hashes that are made of passwords in plain text.
func SetPasswordCost(cost int) { passwordCost = cost }
