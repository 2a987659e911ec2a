// Package browser has only tests: they show the page of a real weir to a real Chromium.
package browser
