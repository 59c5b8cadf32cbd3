# The studies of share/pipelines on short texts: each writes a table that holds what the programs say, and a picture.

load ../cli/lib

# study NAME ARG...: runs it on two short texts; its table is in `table`, its folder is NAME.
study()
{
	"$TOP/share/pipelines/$1.sh" -n 500 -o "$1" "${@:2}" "$TEXT/code.txt" "$TEXT/prose.txt" >table 2>log ||
		{ cat log; return 1; }
}

# ppl ARG...: what moe-run says of the same two texts
ppl()
{
	moe-run -q --score "$@" | awk -F '\t' '$1 == "source" { for (i = 1; i <= NF; i++) at[$i] = i } $1 == "total" { print $at["ppl"] }'
}

is_picture()
{
	[ "$(tail -n 1 "$1")" = '</svg>' ]
	grep -q '<title>' "$1"
	never grep -qw nan "$1"
	if command -v xmllint >/dev/null; then xmllint --noout "$1"; fi
}

@test "disable-top.sh: without its best experts a token fares worse than without any" {
	study disable-top
	[ "$(head -n 1 table)" = 'share of experts barred	the best of each token	drawn by chance' ]
	[ "$(wc -l <table)" = 6 ]
	cd disable-top
	[ "$(ppl tiny-v3 text/code.txt text/prose.txt)" = "$(awk -F '\t' 'NR == 2 { print $2 }' disable-top.tsv)" ]
	[ "$(ppl --mask-top 0.0626 tiny-v3 text/code.txt text/prose.txt)" = "$(awk -F '\t' 'NR == 3 { print $2 }' disable-top.tsv)" ]
	awk -F '\t' 'NR > 2 && ($2 <= before || $2 <= $3) { exit 1 } { before = $2 }' disable-top.tsv
	is_picture disable-top.svg
	grep -q '>the best of each token<' disable-top.svg
}

@test "disable-top.sh: of few experts no share twice" {
	study disable-top -m tiny-v2
	awk -F '\t' 'NR > 2 && $1 <= before { exit 1 } { before = $1 }' table
	[ "$(awk -F '\t' 'NR == 3 { printf "%.6f", $1 }' table)" = 0.083333 ]
}

@test "fewer-active.sh: a row for each number of experts up to the model's own" {
	study fewer-active
	[ "$(cut -f 1 table | tail -n +2 | paste -sd ' ')" = '1 2 3 4' ]
	cd fewer-active
	[ "$(ppl tiny-v3 text/code.txt text/prose.txt)" = "$(awk -F '\t' 'NR == 5 { print $2 }' fewer-active.tsv)" ]
	[ "$(ppl -k 2 tiny-v3 text/code.txt text/prose.txt)" = "$(awk -F '\t' 'NR == 3 { print $2 }' fewer-active.tsv)" ]
	awk -F '\t' 'NR == 2 { one = $2 } NR == 5 { exit !($2 < one) }' fewer-active.tsv
	is_picture fewer-active.svg
}

@test "no-shared.sh: one routed expert more is not the shared one" {
	study no-shared
	cd no-shared
	[ "$(ppl --no-shared -k 5 tiny-v3 text/code.txt text/prose.txt)" = "$(awk -F '\t' '$1 == 5 { print $3 }' no-shared.tsv)" ]
	awk -F '\t' 'NR == 2 { with = $2 } NR == 3 { exit !($1 == 5 && $3 > with) }' no-shared.tsv
	is_picture no-shared.svg
}

@test "domains.sh: the experts that a domain likes, counted again from the decisions" {
	study domains
	cd domains
	moe-route -q --print domains.trace >printed
	# Layer 2, the first expert listed for code.
	awk -F '\t' '$1 == 2 && $2 == "code" { print $3, $4; exit }' experts.tsv >first
	read -r expert count <first
	awk -F '\t' -v e="$expert" 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
		$at["layer"] == 2 && $at["source"] == "code" && $at["expert"] == e { n++ } END { print n }' printed >counted
	[ "$(cat counted)" = "$count" ]
	awk -F '\t' 'NR > 1 && $1 == before && $2 == source && $6 > lift { exit 1 } { before = $1; source = $2; lift = $6 }' experts.tsv
	[ "$(wc -l <experts.tsv)" = $((4 * 2 * 3 + 1)) ]
	[ "$(wc -l <distances.tsv)" = 5 ]
	awk -F '\t' 'NR > 1 && !($2 > 0 && $3 > 0 && $3 <= 32) { exit 1 } END { exit NR != 5 }' domains.tsv
	for layer in 1 2 3 4; do is_picture layer-$layer.svg; done
}

@test "balancing.sh: biases found here are more even than those of training, and than none" {
	study balancing
	awk -F '\t' 'NR > 1 { for (i = 2; i <= 7; i++) sum[i] += $i }
		END { exit !(NR == 5 && sum[5] < sum[4] / 2 && sum[5] < sum[3] / 2 && sum[6] <= sum[5] && sum[7] > 0) }' table
	moe-route -q --policy noaux_tc --bias balancing/second.bias balancing/logits.trace | moe-stats --metric maxvio - |
		awk 'NR > 1 && $1 != "all" { print $2 }' >want
	cut -f 5 table | tail -n +2 | cmp - want
	awk -F '\t' 'NR == 2 { first = $2 } END { exit !(NR == 81 && $2 < first) }' balancing/adaptation.tsv
	is_picture balancing/balancing.svg
	is_picture balancing/adaptation.svg
}

@test "studies tell how they are used, and what is wrong" {
	for s in disable-top fewer-active no-shared domains balancing; do
		"$TOP/share/pipelines/$s.sh" -h >usage
		grep -q "^  $s.sh \[-m MODEL\] \[-n BYTES\] \[-o DIR\] \[TEXT...\]" usage
		run_split "$TOP/share/pipelines/$s.sh" -x
		expect_status 2
		expect_message "$s.sh \[-m MODEL\]"
		run_split "$TOP/share/pipelines/$s.sh" -n none
		expect_status 2
		expect_message "^$s: -n none: expected a number of bytes"
		run_split "$TOP/share/pipelines/$s.sh" -o out no-such-file
		expect_status 1
		expect_message "^$s: no-such-file: cannot be read"
		mkdir -p other
		cp "$TEXT/zh.txt" other/code.txt
		run_split "$TOP/share/pipelines/$s.sh" -o out "$TEXT/code.txt" other/code.txt
		expect_status 1
		expect_message "^$s: other/code.txt: expected texts of different names, found a second code.txt"
		BIN='' PATH=/usr/bin:/bin run_split "$TOP/share/pipelines/$s.sh" -o none
		expect_status 1
		expect_message "^$s: moe-run is not in PATH"
		[ ! -e none ]
		run_split "$TOP/share/pipelines/$s.sh" -o out -m no-such-model
		[ "$status" -ne 0 ]
		expect_message 'no-such-model'
	done
}
