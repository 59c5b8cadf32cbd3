#!/usr/bin/env python3
"""Writes the seeds of the fuzzers: make_corpus.py DIR, from the top of the source tree. Needs numpy, safetensors, gguf.
corpus/trace holds what moe-route writes for a few tokens."""
import json,struct,os,sys
import numpy as np
from safetensors.numpy import save
import gguf
C=sys.argv[1]
def w(p,b):
    os.makedirs(os.path.dirname(f'{C}/{p}'),exist_ok=True); open(f'{C}/{p}','wb').write(b)
t={'a':np.arange(6,dtype=np.float32).reshape(2,3),'b.weight':np.arange(4,dtype=np.uint8),'s':np.ones((),dtype=np.float32)}
w('checkpoint/small.safetensors',save(t,metadata={'format':'pt'}))
w('checkpoint/empty.safetensors',save({}))
p=f'{C}/checkpoint/small.gguf'
g=gguf.GGUFWriter(p,'deepseek2'); g.add_uint32('deepseek2.block_count',2); g.add_string('general.name','x'); g.add_array('tokenizer.ggml.tokens',['a','b','ab']); g.add_float32('deepseek2.rope.freq_base',1e4); g.add_bool('t',True)
g.add_tensor('token_embd.weight',np.arange(64,dtype=np.float32).reshape(2,32)); g.add_tensor('blk.0.x',np.zeros((2,34),dtype=np.uint8),raw_dtype=gguf.GGMLQuantizationType.Q8_0)
g.write_header_to_file(); g.write_kv_data_to_file(); g.write_tensors_to_file(); g.close()
for m in ('deepseek_v3','deepseek_v2','kimi_k2'):
    w(f'config/{m}.json',open(f'tests/golden/models/{m}/config.json','rb').read())
w('config/tiny-v3.json',open('share/models/tiny-v3/config.json','rb').read())
load='layer\texpert\tcount\tweight\n'+''.join(f'{l}\t{e}\t{l*3+e}\t{e*.5}\n' for l in (1,2) for e in range(4))
w('table/load.tsv',load.encode()); w('table/meta.tsv',('#tokens=12 model=x\\ty\n'+load).encode())
parts='source\tlayer\texpert\tcount\tweight\n'+''.join(f'{s}\t1\t{e}\t{e}\t{e*.5}\n' for e in range(3) for s in 'ba')
w('table/sources.tsv',parts.encode())
w('table/plan.tsv',b'#ranks=2 nodes=1\nlayer\texpert\treplica\trank\tslot\n1\t0\t0\t0\t0\n1\t1\t0\t0\t1\n1\t1\t1\t1\t0\n1\t2\t0\t1\t1\n')
w('table/topology.tsv',b'rank\tnode\tmemory_bytes\n0\t0\t1000\n1\t0\t1000\n2\t1\t1000\n3\t1\t1000\n')
tj=json.load(open('share/models/tiny-v3/tokenizer.json'))
v=tj['model']['vocab']; keep=dict(sorted(v.items(),key=lambda x:x[1])[:300]); tj['model']['vocab']=keep
ok=lambda m:(lambda a,b:a in keep and b in keep and a+b in keep)(*(m if isinstance(m,list) else m.split(' ')))
tj['model']['merges']=[m for m in tj['model']['merges'] if ok(m)]
w('tokenizer/bpe.json',json.dumps(tj,ensure_ascii=False).encode())
sys.path.insert(0,'tests/golden/tokenizers')
from charsmap import charsmap
rules={'type':'Sequence','normalizers':[{'type':'Precompiled','precompiled_charsmap':charsmap({'\u00e4'.encode():b'a','\u4e2d'.encode():b'',b'end':b'END',b'=':b' = '})},
    *[{'type':t} for t in ('Nmt','NFKC','NFD','Lowercase','StripAccents')],{'type':'Strip','strip_left':True,'strip_right':False},
    {'type':'Replace','pattern':{'Regex':' {2,}'},'content':' '}]}
pieces=[['<unk>',0],['</s>',0],['\u2581',-2],*[[c,-4-i/8] for i,c in enumerate('abcdefghijklmnopqrstuvwxyz=;1')],['\u2581end',-3.5],['int',-5],['stat',-6],['<0xFF>',-9]]
space={'type':'Metaspace','replacement':'\u2581','prepend_scheme':'first','split':True}
w('tokenizer/unigram.json',json.dumps({'added_tokens':[{'id':1,'content':'</s>','special':True}],'normalizer':rules,
    'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':'Punctuation','behavior':'Contiguous'},{'type':'WhitespaceSplit'},space]},
    'decoder':space,'post_processor':{'type':'TemplateProcessing','single':[{'Sequence':{'id':'A'}},{'SpecialToken':{'id':'</s>'}}],'special_tokens':{'</s>':{'ids':[1]}}},
    'model':{'type':'Unigram','unk_id':0,'byte_fallback':True,'vocab':pieces}}).encode())
import base64
named={'258':{'content':'[BOS]'},'260':{'content':'caf\u00e9','special':False}}
pieces=[bytes([b]) for b in range(256)]+[b'aa',b'in']
w('sources/tiktoken',json.dumps({'tokenizer_class':'TikTokenTokenizer','bos_token':'[BOS]','added_tokens_decoder':named,
    'chat_template':'{{ x }}'}).encode()+b'\n--\n'+b''.join(base64.b64encode(t)+b' %d\n'%i for i,t in enumerate(pieces)))
def keys(**kv): return json.dumps({'tokenizer.ggml.'+k:{'value':v} for k,v in kv.items()}).encode()
base=[chr(c) for c in range(33,127)]
w('sources/gpt2.json',keys(model='gpt2',pre='olmo',tokens=base+['\u0120','in','<s>','<u>',''],
    token_type=[1]*(len(base)+2)+[3,4,5],merges=['i n'],bos_token_id=len(base)+2,add_bos_token=True))
w('sources/llama.json',keys(model='llama',tokens=['<unk>','<s>']+['<0x%02X>'%b for b in range(256)]+['\u2581','a','in','i','n'],
    token_type=[2,3]+[6]*256+[1]*5,scores=[0]*258+[-1,-2,-3,-4,-4],bos_token_id=1,unknown_token_id=0))
w('imatrix/gguf',open('tests/golden/traces/imatrix.gguf','rb').read())
old=lambda name,calls,x: struct.pack('<i',len(name))+name.encode()+struct.pack('<ii',calls,len(x))+struct.pack(f'<{len(x)}f',*x)
entries=old('blk.0.attn_q.weight',2,[1.5,0,3])+old('blk.0.ffn_up_exps.weight',2,[1,2,3,2,2,2])
w('imatrix/dat',struct.pack('<i',2)+entries+struct.pack('<ii',2,5)+b'a.txt')
w('imatrix/short',struct.pack('<i',2)+entries)
w('imatrix/twice',struct.pack('<i',2)+2*old('a',1,[1]))
w('imatrix/not-a-sum',struct.pack('<i',1)+old('a',1,[-1,float('nan'),float('inf')]))
phy2log=[[0,1,2,3,4,5,0,2],[5,4,3,2,1,0,5,1]]
log2phy=[[[s for s in range(8) if r[s]==e]+[-1]*(2-r.count(e)) for e in range(6)] for r in phy2log]
logcnt=[[r.count(e) for e in range(6)] for r in phy2log]
w('form/eplb.json',json.dumps({'phy2log':phy2log,'log2phy':log2phy,'logcnt':logcnt}).encode())
w('form/vllm.json',json.dumps({'physical_to_logical_map':phy2log,'logical_to_physical_map':log2phy,'logical_replica_count':logcnt}).encode())
w('form/sglang.json',json.dumps({'physical_to_logical_map':phy2log}).encode())
w('form/ascend.json',json.dumps({'moe_layer_count':2,'layer_list':[{'layer_id':l,'device_count':4,'device_list':[
    {'device_id':d,'device_expert':r[2*d:2*d+2]} for d in range(4)]} for l,r in enumerate(phy2log)]}).encode())
import io,pickle,types,zipfile
for n,a in (('phy2log',np.array(phy2log,dtype=np.int32)),('log2phy',np.array(log2phy,dtype=np.int64))):
    b=io.BytesIO(); np.save(b,a); w(f'form/{n}.npy',b.getvalue())
# A file as torch.save writes it, without torch: the names that it would pickle stand in modules of their own.
torch,utils=types.ModuleType('torch'),types.ModuleType('torch._utils')
sys.modules.update({'torch':torch,'torch._utils':utils})
def stand_in(module,name):
    f=type(name,(),{}) if name.endswith('Storage') else (lambda *a:None)
    f.__module__,f.__qualname__,f.__name__=module.__name__,name,name; setattr(module,name,f); return f
LongStorage,rebuild=stand_in(torch,'LongStorage'),stand_in(utils,'_rebuild_tensor_v2')
import collections
class Tensor:
    def __reduce__(self): return rebuild,(Storage(),0,(2,8),(8,1),False,collections.OrderedDict())
class Storage: pass
class Pickler(pickle.Pickler):
    def persistent_id(self,o): return ('storage',LongStorage,'0','cpu',16) if isinstance(o,Storage) else None
p=io.BytesIO(); Pickler(p,2).dump({'physical_to_logical_map':Tensor()})
b=io.BytesIO()
with zipfile.ZipFile(b,'w') as z:
    for n,x in (('data.pkl',p.getvalue()),('byteorder',b'little'),('data/0',np.array(phy2log,dtype=np.int64).tobytes()),('version',b'3\n')):
        z.writestr(zipfile.ZipInfo(f'archive/{n}'),x)
w('form/sglang.pt',b.getvalue())

# files of two ranks and the config of the program that wrote them, behind the lengths of the two
def rank_file(r):
    f8=lambda rows,cols: ('F8_E4M3',[rows,cols],bytes([0x38]*(rows*cols)))
    f4=lambda *s: ('F32',list(s),struct.pack('<f',1.5)*int(np.prod(s)))
    t={'embed.weight':f4(4,2),'norm.weight':f4(2),'head.weight':f4(4,2),'layers.0.attn.wo.weight':f8(2,128),
       'layers.0.attn.wo.scale':('F8_E8M0',[1,1],bytes([126])),'layers.0.attn.wq_b.weight':f8(128,2),
       'layers.0.attn.wq_b.scale':f4(1,1),'layers.0.ffn.gate.bias':f4(2),f'layers.0.ffn.experts.{r}.w1.weight':f4(2,2)}
    at,h,d=0,{},b''
    for k,(dt,s,x) in t.items():
        h[k]={'dtype':dt,'shape':s,'data_offsets':[at,at+len(x)]}; at+=len(x); d+=x
    j=json.dumps(h).encode()
    return struct.pack('<Q',len(j))+j+d
a,b=rank_file(0),rank_file(1)
args=json.dumps(dict(vocab_size=8,dim=2,n_layers=1,n_heads=1,n_routed_experts=2,dtype='fp8',score_func='sigmoid')).encode()
w('ranks/two',struct.pack('>HH',len(a),len(b))+a+b+args)
