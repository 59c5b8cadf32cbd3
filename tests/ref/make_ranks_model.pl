#!/usr/bin/perl
# make_ranks_model.pl DIR: a DeepSeek-V3 of one dense and one expert layer, of BF16 numbers from a generator, whose
# matrices are large enough that two ranks can share them at whole blocks of 128.
use strict;
use warnings;

my ($dir) = @ARGV;
my ($d, $vocab, $heads, $q_rank, $kv_rank, $nope, $rope, $v, $ffn, $moe, $experts) =
	(256, 256, 4, 128, 128, 128, 64, 128, 256, 128, 4);
my @tensors = (['model.embed_tokens.weight', $vocab, $d]);
for my $l (0, 1) {
	my $at = "model.layers.$l";
	push @tensors,
		["$at.input_layernorm.weight", $d], ["$at.post_attention_layernorm.weight", $d],
		["$at.self_attn.q_a_proj.weight", $q_rank, $d], ["$at.self_attn.q_a_layernorm.weight", $q_rank],
		["$at.self_attn.q_b_proj.weight", $heads * ($nope + $rope), $q_rank],
		["$at.self_attn.kv_a_proj_with_mqa.weight", $kv_rank + $rope, $d],
		["$at.self_attn.kv_a_layernorm.weight", $kv_rank],
		["$at.self_attn.kv_b_proj.weight", $heads * ($nope + $v), $kv_rank],
		["$at.self_attn.o_proj.weight", $d, $heads * $v];
	my @ffns = $l ? ("$at.mlp.shared_experts", map { "$at.mlp.experts.$_" } 0 .. $experts - 1) : "$at.mlp";
	for my $f (@ffns) {
		my $width = $f =~ /experts\.\d/ ? $moe : $ffn;
		push @tensors, ["$f.gate_proj.weight", $width, $d], ["$f.up_proj.weight", $width, $d],
			["$f.down_proj.weight", $d, $width];
	}
	push @tensors, ["$at.mlp.gate.weight", $experts, $d], ["$at.mlp.gate.e_score_correction_bias", $experts] if $l;
}
push @tensors, ['model.norm.weight', $d], ['lm_head.weight', $vocab, $d];

my ($data, $state, @header) = ('', 1);
for my $t (@tensors) {
	my ($name, @shape) = @$t;
	my $n = 1;
	$n *= $_ for @shape;
	my $wide = $name =~ /bias$/;
	my $begin = length $data;
	my $bits = '';
	for (1 .. $n) {
		$state = ($state * 1103515245 + 12345) & 0x7fffffff;
		# sign, seven bits of mantissa, and an exponent a little below that of 1
		my $half = ($state >> 15 & 0x807f) | (121 + ($state >> 8) % 4) << 7;
		$bits .= pack $wide ? 'L<' : 'S<', $wide ? $half << 16 : $half;
	}
	$data .= $bits;
	push @header, sprintf '"%s":{"dtype":"%s","shape":[%s],"data_offsets":[%d,%d]}', $name, $wide ? 'F32' : 'BF16',
		join(',', @shape), $begin, length $data;
}
my $header = '{' . join(',', @header) . '}';
$header .= ' ' x (-length($header) % 8);
mkdir $dir;
open my $out, '>:raw', "$dir/model.safetensors" or die "$dir: $!\n";
print $out pack('Q<', length $header), $header, $data;
close $out or die "$dir: $!\n";
open $out, '>', "$dir/config.json" or die "$dir: $!\n";
print $out <<"END";
{ "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": $vocab, "hidden_size": $d,
  "num_hidden_layers": 2, "first_k_dense_replace": 1, "num_attention_heads": $heads, "num_key_value_heads": $heads,
  "q_lora_rank": $q_rank, "kv_lora_rank": $kv_rank, "qk_nope_head_dim": $nope, "qk_rope_head_dim": $rope,
  "v_head_dim": $v, "intermediate_size": $ffn, "moe_intermediate_size": $moe, "n_routed_experts": $experts,
  "n_shared_experts": 2, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "topk_method": "noaux_tc",
  "scoring_func": "sigmoid", "norm_topk_prob": true, "routed_scaling_factor": 2.5, "moe_layer_freq": 1,
  "max_position_embeddings": 512, "rope_theta": 10000.0, "rms_norm_eps": 1e-06, "hidden_act": "silu",
  "num_nextn_predict_layers": 0, "tie_word_embeddings": false, "torch_dtype": "bfloat16" }
END
close $out or die "$dir: $!\n";
