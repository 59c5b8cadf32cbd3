# moe-split --stages: layers onto the stages of a pipeline, and what its schedules leave idle.

load lib

@test "no cut into stages has a cheaper costliest stage" {
	for seed in 1 2 3 4 5 6; do
		awk -v seed=$seed 'BEGIN { srand(seed); print "layer\tcost"; for (l = 0; l < 11; l++) print l "\t" int(rand() * 20) }' >costs
		for p in 1 2 3 4 5 11; do
			moe-split -q --stages $p costs >stages
			awk -F '\t' -v p=$p '
				function best(i, k, sum, j, x, b) {   # the least costliest of k stages from layer i on
					if (k == 1) { for (j = i; j < 11; j++) sum += c[j]; return sum }
					b = 1e9
					for (j = i; j <= 11 - k; j++) { sum += c[j]; x = best(j + 1, k - 1); if (sum > x) x = sum; if (x < b) b = x }
					return b
				}
				FILENAME == "costs" { if (FNR > 1) c[$1] = $2; next }
				FNR > 1 {
					n++; sum = 0
					if ($2 != next_layer || $3 < $2 || $1 != n - 1) { print "not a cut: " $0; exit 1 }
					next_layer = $3 + 1
					for (l = $2; l <= $3; l++) sum += c[l]
					if (sum != $4) { print "sum: " $0; exit 1 }
					if (sum > most) most = sum
				}
				END { if (n != p || next_layer != 11 || most != best(0, p)) { print n, next_layer, most, best(0, p); exit 1 } }' \
				costs stages
		done
	done
}

@test "bubbles are those of the formulas" {
	(printf 'layer\tcost\n'; for l in $(seq 0 15); do printf '%d\t1\n' "$l"; done) >costs
	run_split moe-split --stages 8 --micro-batches 20 costs
	expect_status 0
	expect_message '16 layers on 8 stages: the costliest takes 2, 1\.0000 of the mean'
	# F = 2, B = 4, W = 2
	expect_message '1F1B: bubble \(P-1\)\(F\+B\) = 42, 25\.93 % of a step of 20 micro-batches'
	expect_message 'zero-bubble: bubble \(P-1\)\(F\+B-2W\) = 14, 10\.45 %'
	expect_message 'DualPipe: bubble \(P/2-1\)\(F&B\+B-3W\) = 12, 9\.09 %'
	run_split moe-split --stages 5 costs
	expect_message '1F1B: .* of a step of 10 micro-batches'
	expect_message 'DualPipe: not with an odd number of stages'
	[ "$(moe-split -q --stages 2 --json costs | head -n 1)" = \
	  '{"stage":0,"first_layer":0,"last_layer":7,"cost":8,"share":0.5}' ]
}

@test "what --evaluate prints is a table of costs" {
	moe-route -q -o a.trace "$MODEL_V3" "$TEXT/code.txt"
	moe-split -q -n 4 --nodes 2 --planner contiguous a.trace >plan.tsv
	moe-split --evaluate plan.tsv --hidden-size 64 --expert-width 32 --flops 1e9 --gbps 2 a.trace >costs
	moe-split -q --stages 2 --cost step_ms costs >stages
	[ "$(cut -f 1-3 stages | tr '\t\n' ' ,')" = 'stage first_layer last_layer,0 1 2,1 3 4,' ]
	paste <(awk '$1 ~ /^[0-9]/ { s[int(($1 - 1) / 2)] += $NF } END { printf "%.9g\n%.9g\n", s[0], s[1] }' costs) \
		<(awk 'NR > 1 { printf "%.9g\n", $4 }' stages) | awk '$1 != $2 { exit 1 }'
}

@test "tables of costs that cannot be are refused with the line" {
	printf 'layer\tcost\n0\t1\n1\t-2\n' >costs
	fails 1 moe-split --stages 2 costs
	expect_message 'costs: line 3: a cost of -2 cannot be'
	printf 'layer\tcost\n0\t1\n1\t2\n0\t3\n' >costs
	fails 1 moe-split --stages 2 costs
	expect_message 'costs: line 4: layer 0 is in line 2 already'
	printf 'layer\tcost\n0\t1\n1\tmuch\n' >costs
	fails 1 moe-split --stages 2 costs
	expect_message 'costs: line 3'
	printf 'layer\tcost\nall\t1\n' >costs
	fails 1 moe-split --stages 1 costs
	expect_message 'costs: names no layer'
	printf 'layer\tcost\n0\t1\n' >costs
	fails 1 moe-split --stages 1 --cost ms costs
	fails 2 moe-split --stages 2 costs
	expect_message '1 layers do not fill 2 stages'
	fails 2 moe-split --stages 1 costs costs
	fails 2 moe-split --stages 1 -n 2 costs
	fails 2 moe-split --cost ms -n 2 costs
	fails 2 moe-split --micro-batches 3 -n 2 costs
}
