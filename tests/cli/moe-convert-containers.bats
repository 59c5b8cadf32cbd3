# moe-convert: forms that checkpoints come in beside a plain directory, and what proves and protects them.

load lib

values()
{
	moe-convert --hash "$1" | cut -f 1,3
}

# type_of MODEL NAME: storage type of a tensor.
type_of()
{
	moe-convert --list "$1" | awk -F'\t' -v name="$2" '$1 == name { print $2 }'
}

@test "--fp8-scales: powers of two, in four bytes or in one, hold the same values" {
	local name=model.layers.1.mlp.experts.3.up_proj.weight
	moe-convert -q --type f8_e4m3 --fp8-scales pow2 "$MODEL_V3" pow2
	moe-convert -q --type f8_e4m3 --fp8-scales e8m0 "$MODEL_V3" e8m0
	[ "$(type_of pow2 ${name}_scale_inv)" = f32 ]
	[ "$(type_of e8m0 ${name}_scale_inv)" = f8_e8m0 ]
	[ "$(jq -r .quantization_config.scale_fmt pow2/config.json e8m0/config.json | uniq -c | tr -s ' ')" = ' 2 ue8m0' ]
	diff <(values pow2) <(values e8m0)
	# there and back, without rounding anything again
	run_split moe-convert --fp8-scales e8m0 pow2 e8m0.again
	expect_status 0
	! grep -q 'powers of two' .err
	diff -r e8m0 e8m0.again
	run_split moe-convert --fp8-scales f32 e8m0 f32
	expect_status 0
	diff -r f32 pow2
	# new matrices beside such scales follow them, and what is stored stays
	moe-convert -q e8m0 as
	diff -r e8m0 as
	moe-convert -q --type bf16 pow2 wide
	jq --argjson q "$(jq .quantization_config pow2/config.json)" '.quantization_config = $q' wide/config.json >c
	cp c wide/config.json
	moe-convert -q --type f8_e4m3 wide narrow
	diff <(values pow2) <(values narrow)
	# programs that read the one read the other
	echo 5 6 7 8 9 >ids
	moe-run -q --ids --score pow2 ids | grep -v '^#' | cut -f 2- >want
	moe-run -q --ids --score e8m0 ids | grep -v '^#' | cut -f 2- >have
	expect_same want have
	[ -s have ]
}

@test "--fp8-scales: scales that are no powers of two are rounded anew, and said to be" {
	moe-convert -q --type f8_e4m3 "$MODEL_V3" any
	jq -e '.quantization_config | has("scale_fmt") | not' any/config.json
	run_split moe-convert -v --fp8-scales e8m0 any e8m0
	expect_status 0
	expect_message '[1-9][0-9]* tensors had block scales that are no powers of two: their values are rounded anew'
	expect_message 'model.layers.1.mlp.experts.3.up_proj.weight: rounded anew with powers of two as scales'
	run_split moe-convert --verify --tolerance 0.05 e8m0 any
	expect_status 0
	run_split moe-convert --verify --tolerance 0 e8m0 any
	expect_status 3
	fails 2 moe-convert -q --fp8-scales e8m0 "$MODEL_V3" no
	expect_message '--fp8-scales: no tensor of no would have block scales'
	fails 2 moe-convert -q --fp8-scales e8m0 any no.gguf
	fails 2 moe-convert -q --fp8-scales e4m3 any no
	fails 2 moe-convert --fp8-scales f32 --info any
	fails 2 moe-convert -q --type f8_e8m0 "$MODEL_V3" no
	expect_message "'f8_e8m0' is not a type that can be written"
}
