// Package deploy has no code: its folders are files for operators (the systemd unit, dashboards, rules), and its
// tests run them.
package deploy
