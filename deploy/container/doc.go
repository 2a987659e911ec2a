// Package container has no code: the folder has what makes a container image of weir, and a Compose file,
// and its tests build the image and run it.
package container
