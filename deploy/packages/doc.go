// Package packages has no code: the folder has what makes a release (dist.sh, with what goes into the
// .deb and the .rpm), and its tests build one, install it on a machine that they boot, upgrade it and
// remove it.
package packages
