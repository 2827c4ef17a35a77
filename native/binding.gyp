# The CPU engine and the addon. scripts/build.mjs calls node-gyp with `onednn_prefix`, the folder that holds
# include/dnnl.h, and `onednn_version`. The CUDA backend is a shared library of its own (CMakeLists.txt).
{
  'variables': {
    'onednn_prefix%': '/usr',
    'onednn_version%': '',
    # Compiled once per instruction set, each time into a namespace of its own (src/cpu/kernels.h).
    'kernel_sources': [
      'src/cpu/kernels/activation.cc',
      'src/cpu/kernels/attention.cc',
      'src/cpu/kernels/attention_backward.cc',
      'src/cpu/kernels/attention_cached.cc',
      'src/cpu/kernels/elementwise.cc',
      'src/cpu/kernels/embedding.cc',
      'src/cpu/kernels/logprob.cc',
      'src/cpu/kernels/norm.cc',
      'src/cpu/kernels/optimizer.cc',
      'src/cpu/kernels/rotary.cc',
      'src/cpu/kernels/table.cc',
    ],
  },
  'target_defaults': {
    'cflags_cc!': ['-std=gnu++17', '-fno-exceptions'],
    'cflags_cc': [
      '-std=c++20', '-O3', '-fPIC', '-fopenmp', '-fvisibility=hidden', '-Wall', '-Wextra',
      # Free the vectoriser: nothing here reads errno or floating-point flags. NaN and infinity keep their meaning.
      '-fno-math-errno', '-fno-trapping-math', '-ffp-contract=fast',
    ],
    'xcode_settings': {
      'GCC_ENABLE_CPP_EXCEPTIONS': 'YES',
      'CLANG_CXX_LANGUAGE_STANDARD': 'c++20',
      'MACOSX_DEPLOYMENT_TARGET': '12.0',
      'OTHER_CPLUSPLUSFLAGS': [
        '-O3', '-Xclang', '-fopenmp', '-fno-math-errno', '-fno-trapping-math', '-ffp-contract=fast',
        '-I<(onednn_prefix)/opt/libomp/include',
      ],
    },
    'conditions': [
      ['onednn_prefix!="/usr"', {'include_dirs': ['<(onednn_prefix)/include']}],
    ],
  },
  'targets': [
    {
      'target_name': 'kernels_portable',
      'type': 'static_library',
      'sources': ['<@(kernel_sources)'],
      'defines': ['SRALIGN_ISA=portable', 'SRALIGN_TABLE=kPortableKernels'],
    },
    {
      'target_name': 'sralign_native',
      'sources': [
        'src/addon/addon.cc',
        'src/addon/collectives.cc',
        'src/addon/control.cc',
        'src/addon/files.cc',
        'src/addon/ops.cc',
        'src/addon/system.cc',
        'src/addon/tensors.cc',
        'src/comm/connection.cc',
        'src/comm/control.cc',
        'src/comm/ending.cc',
        'src/comm/hub.cc',
        'src/comm/join.cc',
        'src/comm/member.cc',
        'src/comm/mpi_library.cc',
        'src/comm/printable.cc',
        'src/comm/socket.cc',
        'src/core/caching_allocator.cc',
        'src/core/checks.cc',
        'src/core/convert.cc',
        'src/core/cuda_library.cc',
        'src/core/shared_library.cc',
        'src/core/table.cc',
        'src/cpu/backend_cpu.cc',
        'src/cpu/cpu_info.cc',
        'src/cpu/host_memory.cc',
        'src/cpu/linear_logprob.cc',
        'src/cpu/matmul.cc',
        'src/cpu/preference.cc',
        'src/cpu/random.cc',
        'src/cpu/scratch.cc',
      ],
      # The version of oneDNN is a define so that another one compiles everything again: make does not follow the
      # headers of the system.
      'defines': ['NAPI_VERSION=9', 'NAPI_CPP_EXCEPTIONS', 'SRALIGN_ONEDNN_VERSION=<(onednn_version)'],
      'include_dirs': ['<!(node -p "require(\'node-addon-api\').include_dir")'],
      # The order matters: where kernel files of several instruction sets bring the same inline function, the linker
      # keeps the first, and that must be one every processor can run.
      'dependencies': ['kernels_portable'],
      'libraries': ['-ldnnl', '-ldl'],
      # Threads of the addon outlive a worker thread that loaded it alone, and so must its code.
      'ldflags': ['-fopenmp', '-Wl,-z,nodelete'],
      'conditions': [
        ['target_arch=="x64"', {'dependencies': ['kernels_avx2', 'kernels_avx512']}],
        ['OS=="mac"', {'libraries': ['-L<(onednn_prefix)/opt/libomp/lib', '-lomp']}],
        ['onednn_prefix!="/usr"', {
          'libraries': ['-L<(onednn_prefix)/lib', '-Wl,-rpath,<(onednn_prefix)/lib'],
        }],
      ],
    },
  ],
  'conditions': [
    ['target_arch=="x64"', {
      'targets': [
        {
          'target_name': 'kernels_avx2',
          'type': 'static_library',
          'sources': ['<@(kernel_sources)'],
          'defines': ['SRALIGN_ISA=avx2', 'SRALIGN_TABLE=kAvx2Kernels'],
          'cflags_cc': ['-mavx2', '-mfma', '-mf16c'],
          'xcode_settings': {'OTHER_CPLUSPLUSFLAGS': ['-mavx2', '-mfma', '-mf16c']},
        },
        {
          'target_name': 'kernels_avx512',
          'type': 'static_library',
          'sources': ['<@(kernel_sources)'],
          'defines': ['SRALIGN_ISA=avx512', 'SRALIGN_TABLE=kAvx512Kernels'],
          'cflags_cc': ['-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512dq', '-mfma', '-mprefer-vector-width=512'],
          'xcode_settings': {
            'OTHER_CPLUSPLUSFLAGS': ['-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512dq', '-mfma'],
          },
        },
      ],
    }],
  ],
}
