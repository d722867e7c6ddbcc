//go:build tools

// The conformance suite that tests/e2e runs, with what it needs in versions that Debian 12's Go
// builds.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
