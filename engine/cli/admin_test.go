package cli

import (
	"testing"

	"hookrun/engine"
	"hookrun/engine/rules"
)

func TestDashboardIsWhereItIsAskedFor(t *testing.T) {
	tests := []struct {
		name    string
		flag    adminFlag
		file    rules.Admin
		address string
		asked   bool
	}{
		{"nothing is said", adminFlag{address: defaultAdmin}, rules.Admin{}, defaultAdmin, false},
		{"the flag", adminFlag{"127.0.0.1:9", true}, rules.Admin{}, "127.0.0.1:9", true},
		{"the flag says none", adminFlag{"", true}, rules.Admin{Listen: "127.0.0.1:9"}, "", true},
		{"the file", adminFlag{address: defaultAdmin}, rules.Admin{Listen: "127.0.0.1:9"}, "127.0.0.1:9", true},
		{"both", adminFlag{"127.0.0.1:8", true}, rules.Admin{Listen: "127.0.0.1:9"}, "127.0.0.1:8", true},
		{"a token alone", adminFlag{address: defaultAdmin}, rules.Admin{Token: engine.NewSecret("x")}, defaultAdmin, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			address, asked := adminAddress(tt.flag, tt.file)
			if address != tt.address || asked != tt.asked {
				t.Errorf("the dashboard is at %q, asked for: %v; want %q, %v", address, asked, tt.address, tt.asked)
			}
		})
	}
}

func TestDashboardIsClosedToCommandsOfOtherUsers(t *testing.T) {
	token := rules.Admin{Token: engine.NewSecret("0123456789abcdef")}
	tests := []struct {
		name   string
		admin  rules.Admin
		runsAs bool
		want   bool
	}{
		{"no token, no run_as", rules.Admin{}, false, false},
		{"no token, run_as", rules.Admin{}, true, true},
		{"token, run_as", token, true, false},
		{"token, no run_as", token, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			why := closed(tt.admin, &rules.Generation{RunsAs: tt.runsAs})
			if got := why != ""; got != tt.want {
				t.Errorf("the dashboard is closed: %v, as %q; want %v", got, why, tt.want)
			}
		})
	}
}
