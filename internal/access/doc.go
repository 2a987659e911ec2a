// Package access decides who may do what: addresses that lists allow or deny, and users
// with passwords. Package proxy asks it for each exchange; it knows no routes and no HTTP but
// the credentials of the Basic scheme.
package access
