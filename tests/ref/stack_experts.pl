#!/usr/bin/perl
# Stacks the experts of a safetensors file as transformers 5 holds them: mlp.experts.gate_up_proj [E, 2 I, d], gate rows
# first, and mlp.experts.down_proj [E, d, I], in place of one tensor for each expert's gate_proj, up_proj, down_proj.
#
# usage: stack_experts.pl FILE
use strict;
use warnings;
use JSON::PP;

@ARGV == 1 or die "usage: stack_experts.pl FILE\n";
my $path = $ARGV[0];
open(my $in, '<:raw', $path) or die "$path: $!\n";
my $bytes = do { local $/; <$in> };
close $in;
my $n = unpack('Q<', $bytes);
my $json = JSON::PP->new->canonical;
my $header = $json->decode(substr($bytes, 8, $n));
my (%one, %kept, %shape, $dtype);
for my $name (grep { $_ ne '__metadata__' } keys %$header) {
	my ($begin, $end) = @{$header->{$name}{data_offsets}};
	my $data = substr($bytes, 8 + $n + $begin, $end - $begin);
	if ($name =~ /^(.*\.mlp\.experts\.)(\d+)\.(gate|up|down)_proj\.weight$/) {
		$one{$1}{$3}[$2] = $data;
		$shape{$1}{$3} = $header->{$name}{shape};
		$dtype = $header->{$name}{dtype};
	} else {
		$kept{$name} = { %{$header->{$name}}, data => $data };
	}
}
%one or die "$path: no experts\n";
for my $prefix (keys %one) {
	my ($gate, $up, $down) = @{$one{$prefix}}{qw(gate up down)};
	my ($width, $hidden) = @{$shape{$prefix}{gate}};
	$kept{"${prefix}gate_up_proj"} = { dtype => $dtype, shape => [scalar @$gate, 2 * $width, $hidden],
		data => join('', map { $gate->[$_] . $up->[$_] } 0 .. $#$gate) };
	$kept{"${prefix}down_proj"} = { dtype => $dtype, shape => [scalar @$down, $hidden, $width],
		data => join('', @$down) };
}
my ($data, %out) = ('');
for my $name (sort keys %kept) {
	my $begin = length $data;
	$data .= $kept{$name}{data};
	my ($dtype, $shape) = @{$kept{$name}}{qw(dtype shape)};
	$out{$name} = { dtype => $dtype, shape => $shape, data_offsets => [$begin, length $data] };
}
my $text = $json->encode(\%out);
$text .= ' ' x (-length($text) % 8);
open(my $file, '>:raw', $path) or die "$path: $!\n";
print $file pack('Q<', length $text), $text, $data;
close $file or die "$path: $!\n";
